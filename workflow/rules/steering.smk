# A model is loaded once per (model, layer). `update` keeps the cells that are there; the worker reads their fingerprints and
# computes only what is missing or stale.


rule baseline:
    input:
        card=card_of,
        weights=weights_of,
        concept=STUDY.concept_folder / "concept.yaml",
    output:
        update([cell.path(PATHS.cells) for cell in studies.unsteered_cells("{model}", STUDY.scenario_names())]),
    log:
        PATHS.log("baseline", "{model}"),
    threads: MODEL_THREADS
    resources:
        **MODEL_JOB,
    params:
        study=PATHS.saved,
        settings=settings("baseline"),
    shell:
        "probesteer baseline --study {params.study:q} --model {wildcards.model:q} 2> {log:q}"


# What each block promises, before anything is generated; where the study says `auto`, the block that is steered at.
rule forecast:
    input:
        card=card_of,
        weights=weights_of,
        concept=STUDY.concept_folder / "concept.yaml",
        pairs=PATHS.pairs(STUDY.concept, PAIR_SETS[STUDY.concept].key),
        activations=lambda wildcards: activations_of(wildcards)[0],
    output:
        update(PATHS.forecast("{model}")),
    log:
        PATHS.log("forecast", "{model}"),
    threads: MODEL_THREADS
    resources:
        **MODEL_JOB,
    params:
        study=PATHS.saved,
        settings=settings("forecast"),
    shell:
        "probesteer forecast --study {params.study:q} --model {wildcards.model:q} 2> {log:q}"


# How far alpha 1 is, in a unit that only the model can tell.
rule dose:
    input:
        card=card_of,
        weights=weights_of,
        probe=PATHS.probe("{model}", "{layer}"),
        concept=STUDY.concept_folder / "concept.yaml",
        # one stands for all that the baseline wrote
        unsteered=lambda wildcards: [cell.path(PATHS.cells) for cell in STUDY.calibration_cells(STUDY[wildcards.model])[:1]],
    output:
        update(PATHS.dose("{model}", "{layer}")),
    log:
        PATHS.log("dose", "{model}", "{layer}"),
    threads: MODEL_THREADS
    resources:
        **MODEL_JOB,
    params:
        study=PATHS.saved,
        settings=settings("dose"),
    shell:
        "probesteer dose --study {params.study:q} --model {wildcards.model:q} --layer {wildcards.layer:q} 2> {log:q}"


# One rule per distinct alpha grid, since a rule's outputs are fixed.
for number, (grid, models) in enumerate(STUDY.alpha_grids().items(), 1):

    rule:
        name:
            f"steer_{number}"
        input:
            card=card_of,
            weights=weights_of,
            probe=PATHS.probe("{model}", "{layer}"),
            dose=[PATHS.dose("{model}", "{layer}")] if STUDY.dosed else [],
            concept=STUDY.concept_folder / "concept.yaml",
        output:
            update([cell.path(PATHS.cells) for cell in STUDY.cells("{model}", "{layer}", list(grid))]),
        log:
            PATHS.log("steer", "{model}", "{layer}"),
        wildcard_constraints:
            model=one_of(models),
        threads: MODEL_THREADS
        resources:
            **MODEL_JOB,
        params:
            study=PATHS.saved,
            settings=settings("steer"),
        shell:
            "probesteer steer --study {params.study:q} --model {wildcards.model:q} --layer {wildcards.layer:q} 2> {log:q}"
