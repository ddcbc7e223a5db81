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
