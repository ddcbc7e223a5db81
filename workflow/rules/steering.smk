# A model is loaded once per (model, layer). `update` keeps the cells that are there; the worker reads their fingerprints and
# computes only what is missing or stale.


rule baseline:
    input:
        card=card_of,
        weights=weights_of,
        concept=STUDY.concept_folder / "concept.yaml",
    output:
        update([cell.path(STUDY.cells_root) for cell in studies.unsteered_cells("{model}", STUDY.scenarios)]),
    log:
        ROOT / "logs/baseline/{model}.log",
    resources:
        **MODEL_JOB,
    params:
        sweep=SWEEP,
        tokens=token_limit,
    shell:
        "probesteer baseline --card {input.card} --model {wildcards.model} --max-new-tokens {params.tokens}"
        " {params.sweep} 2> {log}"


# One rule per distinct alpha grid, since a rule's outputs are fixed.
for number, (grid, models) in enumerate(STUDY.alpha_grids().items(), 1):

    rule:
        name:
            f"steer_{number}"
        input:
            card=card_of,
            weights=weights_of,
            probe=ROOT / "probes/model={model}/layer={layer}/probe.safetensors",
            concept=STUDY.concept_folder / "concept.yaml",
        output:
            update([cell.path(STUDY.cells_root) for cell in STUDY.layer_cells("{model}", "{layer}", grid)]),
        log:
            ROOT / "logs/steer/{model}.{layer}.log",
        wildcard_constraints:
            model="|".join(map(re.escape, models)),
        resources:
            **MODEL_JOB,
        params:
            sweep=SWEEP,
            tokens=token_limit,
            unit=STUDY.alpha_unit,
            alphas=comma(map(studies.alpha_label, grid)),
            controls=CONTROLS,
        shell:
            "probesteer steer --card {input.card} --model {wildcards.model} --probe {input.probe} --layer {wildcards.layer}"
            " --alpha-unit {params.unit} --alphas={params.alphas} {params.controls}"
            " --max-new-tokens {params.tokens} {params.sweep} 2> {log}"
