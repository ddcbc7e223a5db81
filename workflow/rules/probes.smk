# A direction per (model, layer), and what the directions of a model are worth on held-out pairs.


rule probe:
    input:
        activations=lambda wildcards: activations_of(wildcards)[0],
        planted=lambda wildcards: STUDY[wildcards.model].planted(),
        forecast=lambda wildcards: [PATHS.forecast(wildcards.model)] if wildcards.layer == "auto" else [],
    output:
        PATHS.probe("{model}", "{layer}"),
    log:
        PATHS.log("probe", "{model}", "{layer}"),
    benchmark:
        PATHS.benchmark("probe", "{model}", "{layer}")
    group:
        "probes"
    resources:
        **LIGHT_JOB,
    params:
        study=PATHS.saved,
        settings=settings("probe"),
    shell:
        "probesteer probe --study {params.study:q} --model {wildcards.model:q} --layer {wildcards.layer:q} 2> {log:q}"


# All layers of a model together: the choice of one is part of what is tested.
rule detect:
    input:
        activations=activations_of,
        planted=lambda wildcards: STUDY[wildcards.model].planted(),
        words=pairs_files(PAIR_SETS[STUDY.concept], STUDY),
    output:
        PATHS.detection("{model}"),
    log:
        PATHS.log("detect", "{model}"),
    benchmark:
        PATHS.benchmark("detect", "{model}")
    group:
        "probes"
    resources:
        **LIGHT_JOB,
    params:
        study=PATHS.saved,
        settings=settings("detect"),
    shell:
        "probesteer detect --study {params.study:q} --model {wildcards.model:q} 2> {log:q}"
