# From cells to texts to scores to effects, per model: a sweep that ran marks all its cells as new, so nothing hangs off a
# single cell.


rule texts:
    input:
        # One cell stands for all of its job, which `all` asks for one by one: half as many files to plan.
        lambda wildcards: [cells[0].path(PATHS.cells) for cells in STUDY.jobs_cells(STUDY[wildcards.model])],
    output:
        PATHS.texts("{model}"),
    log:
        PATHS.log("texts", "{model}"),
    group:
        "scores"
    resources:
        **LIGHT_JOB,
    params:
        study=PATHS.saved,
        settings=settings("texts"),
    shell:
        "probesteer texts --study {params.study:q} --model {wildcards.model:q} 2> {log:q}"


rule score:
    input:
        texts=PATHS.texts("{model}"),
        concept=STUDY.concept_folder / "concept.yaml",
    output:
        PATHS.scores("{model}", "{scorer}"),
    log:
        PATHS.log("score", "{model}", "{scorer}"),
    benchmark:
        PATHS.benchmark("score", "{model}", "{scorer}")
    wildcard_constraints:
        scorer="(?!rubric).*",
    group:
        "scores"
    resources:
        **LIGHT_JOB,
    params:
        study=PATHS.saved,
    shell:
        "probesteer score --study {params.study:q} --model {wildcards.model:q} --scorer {wildcards.scorer:q} 2> {log:q}"


rule judge:
    input:
        texts=PATHS.texts("{model}"),
        concept=STUDY.concept_folder / "concept.yaml",
        card=[PATHS.card(name, model.key) for name, model in STUDY.judges.items()],
        weights=[folder for name in STUDY.judges if (folder := STUDY.weights(name))],
    output:
        PATHS.scores("{model}", "rubric"),
    log:
        PATHS.log("score", "{model}", "rubric"),
    benchmark:
        PATHS.benchmark("score", "{model}", "rubric")
    threads: JUDGE_THREADS
    resources:
        **JUDGE_JOB,
    params:
        study=PATHS.saved,
        settings=settings("judge"),
    shell:
        "probesteer score --study {params.study:q} --model {wildcards.model:q} --scorer rubric 2> {log:q}"


rule effects:
    input:
        scores=expand(PATHS.scores("{{model}}", "{scorer}"), scorer=STUDY.scorers),
        probes=lambda wildcards: [
            PATHS.probe(wildcards.model, layer) for layer in STUDY.steering_layers_of(STUDY[wildcards.model])
        ],
        doses=lambda wildcards: [
            PATHS.dose(wildcards.model, layer) for layer in STUDY.steering_layers_of(STUDY[wildcards.model]) if STUDY.dosed
        ],
        ratings=lambda wildcards: STUDY.ratings,
    output:
        expand(PATHS.effects("{{model}}", "{table}"), table=EFFECTS),
    log:
        PATHS.log("effects", "{model}"),
    benchmark:
        PATHS.benchmark("effects", "{model}")
    group:
        "scores"
    resources:
        **LIGHT_JOB,
    params:
        study=PATHS.saved,
        settings=settings("effects"),
    shell:
        "probesteer effects --study {params.study:q} --model {wildcards.model:q} 2> {log:q}"


# What a model reads in its own texts and games and in those of the first steered model, which all read, against the scores
# and deeds.
rule correlation:
    input:
        card=card_of,
        weights=weights_of,
        activations=activations_of,
        detection=PATHS.detection("{model}"),
        texts=lambda wildcards: [PATHS.texts(name) for name in STUDY.authors_of(wildcards.model)],
        scores=lambda wildcards: [PATHS.scores(name, STUDY.scorers[0]) for name in STUDY.authors_of(wildcards.model)],
        games=lambda wildcards: [PATHS.transcripts(name) for name in STUDY.games_read(wildcards.model)],
    output:
        update([PATHS.readings("{model}", of) for of in READINGS]),
        [PATHS.correlation("{model}", table) for table in CORRELATION],
    log:
        PATHS.log("correlation", "{model}"),
    threads: MODEL_THREADS
    resources:
        **MODEL_JOB,
    params:
        study=PATHS.saved,
        settings=settings("correlation"),
    shell:
        "probesteer correlation --study {params.study:q} --model {wildcards.model:q} 2> {log:q}"


# Games: deeds beside words. Played as the sweep is: a model is loaded once per (model, layer), and once unsteered.
if STUDY.games:

    rule play_unsteered:
        input:
            card=card_of,
            weights=weights_of,
            concept=STUDY.concept_folder / "concept.yaml",
        output:
            update([cell.path(PATHS.games) for cell in STUDY.game_cells("{model}", None)]),
        log:
            PATHS.log("play_unsteered", "{model}"),
        threads: MODEL_THREADS
        resources:
            **MODEL_JOB,
        params:
            study=PATHS.saved,
            settings=settings("play_unsteered"),
        shell:
            "probesteer play --study {params.study:q} --model {wildcards.model:q} 2> {log:q}"

    for number, (grid, models) in enumerate(STUDY.alpha_grids().items(), 1):

        rule:
            name:
                f"play_{number}"
            input:
                card=card_of,
                weights=weights_of,
                probe=PATHS.probe("{model}", "{layer}"),
                dose=[PATHS.dose("{model}", "{layer}")] if STUDY.dosed else [],
                concept=STUDY.concept_folder / "concept.yaml",
            output:
                update([cell.path(PATHS.games) for cell in STUDY.game_cells("{model}", "{layer}", list(grid))]),
            log:
                PATHS.log("play", "{model}", "{layer}"),
            wildcard_constraints:
                model=one_of(models),
            threads: MODEL_THREADS
            resources:
                **MODEL_JOB,
            params:
                study=PATHS.saved,
                settings=settings("play"),
            shell:
                "probesteer play --study {params.study:q} --model {wildcards.model:q} --layer {wildcards.layer:q} 2> {log:q}"

    rule transcripts:
        input:
            lambda wildcards: [cells[0].path(PATHS.games) for cells in STUDY.game_jobs(STUDY[wildcards.model])],
        output:
            PATHS.transcripts("{model}"),
        log:
            PATHS.log("transcripts", "{model}"),
        group:
            "scores"
        resources:
            **LIGHT_JOB,
        params:
            study=PATHS.saved,
            settings=settings("transcripts"),
        shell:
            "probesteer transcripts --study {params.study:q} --model {wildcards.model:q} 2> {log:q}"

    rule deeds:
        input:
            transcripts=PATHS.transcripts("{model}"),
            concept=STUDY.concept_folder / "concept.yaml",
        output:
            expand(PATHS.deeds("{{model}}", "{table}"), table=GAME_TABLES),
        log:
            PATHS.log("deeds", "{model}"),
        benchmark:
            PATHS.benchmark("deeds", "{model}")
        group:
            "scores"
        resources:
            **LIGHT_JOB,
        params:
            study=PATHS.saved,
            settings=settings("deeds"),
        shell:
            "probesteer deeds --study {params.study:q} --model {wildcards.model:q} 2> {log:q}"
