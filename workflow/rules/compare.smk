# Between models. What a model alone gives is a job of its own, so that a further model adds its own jobs and no others.


rule readings:
    input:
        activations=lambda wildcards: activations_of(wildcards)[0],
    output:
        PATHS.compared("{model}", "readings"),
    log:
        PATHS.log("readings", "{model}"),
    group:
        "probes"
    resources:
        **LIGHT_JOB,
    params:
        study=PATHS.saved,
        settings=settings("readings"),
    shell:
        "probesteer compare readings --study {params.study:q} --model {wildcards.model:q} 2> {log:q}"


rule independence:
    input:
        activations=activations_of,
    output:
        PATHS.compared("{model}", "independence"),
    log:
        PATHS.log("independence", "{model}"),
    group:
        "probes"
    resources:
        **LIGHT_JOB,
    params:
        study=PATHS.saved,
        settings=settings("independence"),
    shell:
        "probesteer compare independence --study {params.study:q} --model {wildcards.model:q} 2> {log:q}"


# What maps between models are made of: the neutral corpus in the model and in a twin of it with random weights.
rule corpus:
    input:
        card=card_of,
        weights=weights_of,
        concept=STUDY.concept_folder / "concept.yaml",
        pairs=PATHS.pairs(STUDY.concept, PAIR_SETS[STUDY.concept].key),
        corpus=concepts.corpus_file(STUDY.concept_folder),
    output:
        update([PATHS.compared("{model}", table) for table in CORPUS_TABLES]),
    log:
        PATHS.log("corpus", "{model}"),
    threads: MODEL_THREADS
    resources:
        **MODEL_JOB,
    params:
        study=PATHS.saved,
        settings=settings("corpus"),
    shell:
        "probesteer compare corpus --study {params.study:q} --model {wildcards.model:q} 2> {log:q}"


# All directions that are carried into a model. The rows of sources that are up to date are kept.
rule transfer:
    input:
        own=[PATHS.compared("{model}", table) for table in CORPUS_TABLES],
        others=[PATHS.compared(model.name, "corpus") for model in STUDY.models],
        activations=[activations_path(STUDY, model, PAIR_SETS[STUDY.concept]) for model in STUDY.models],
    output:
        update(PATHS.compared("{model}", "transfer")),
    log:
        PATHS.log("transfer", "{model}"),
    resources:
        **LIGHT_JOB,
    params:
        study=PATHS.saved,
        settings=settings("transfer"),
    shell:
        "probesteer compare transfer --study {params.study:q} --model {wildcards.model:q} 2> {log:q}"


# Outputs exchanged between a run that is asked for the behaviour and one that is asked for its opposite.
rule causes:
    input:
        card=card_of,
        weights=weights_of,
        concept=STUDY.concept_folder / "concept.yaml",
        pairs=PATHS.pairs(STUDY.concept, PAIR_SETS[STUDY.concept].key),
        activations=lambda wildcards: activations_of(wildcards)[0],
    output:
        PATHS.compared("{model}", "causes"),
    log:
        PATHS.log("causes", "{model}"),
    threads: MODEL_THREADS
    resources:
        **MODEL_JOB,
    params:
        study=PATHS.saved,
        settings=settings("causes"),
    shell:
        "probesteer compare causes --study {params.study:q} --model {wildcards.model:q} 2> {log:q}"
