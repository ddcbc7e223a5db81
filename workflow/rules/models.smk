# What each model is. Weights are fetched and read about here, where the network is; jobs take them from the hub's cache.


rule fetch:
    output:
        **({"weights": temp(directory(PATHS.weights("{model}", "{key}")))} if TEMP_WEIGHTS else {}),
        receipt=PATHS.receipt("{model}", "{key}"),
    log:
        PATHS.log("fetch", "{model}", "{key}"),
    retries: 2  # files that are there are kept
    localrule: True
    resources:
        login=1,
    params:
        study=PATHS.saved,
    shell:
        "probesteer fetch --study {params.study:q} --model {wildcards.model:q} 2> >(tee {log:q} >&2)"


rule model:
    input:
        files=lambda wildcards: STUDY.loaded(wildcards.model).files(),
        receipt=receipt_of,
        weights=weights_of,
    output:
        card=PATHS.card("{model}", "{key}"),
    log:
        PATHS.log("model", "{model}", "{key}"),
    retries: 0
    localrule: True
    resources:
        login=1,
    params:
        study=PATHS.saved,
        settings=settings("model"),
    shell:
        "probesteer model --study {params.study:q} --model {wildcards.model:q} 2> {log:q}"
