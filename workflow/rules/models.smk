# What each model is. Weights are fetched and read about here, where the network is; jobs take them from the hub's cache, or
# from where a GGUF file was dequantised to.

WEIGHTS = directory(PATHS.weights("{model}", "{key}"))


rule fetch:
    output:
        **({"weights": temp(WEIGHTS)} if TEMP_WEIGHTS else {}),
        receipt=PATHS.receipt("{model}", "{key}"),
    log:
        PATHS.log("fetch", "{model}", "{key}"),
    wildcard_constraints:
        model=one_of(name for name, model in MODELS.items() if not model.local),
    retries: 2  # files that are there are kept
    localrule: True
    resources:
        login=1,
    params:
        study=PATHS.saved,
    shell:
        "probesteer fetch --study {params.study:q} --model {wildcards.model:q} 2> >(tee {log:q} >&2)"


rule convert:
    input:
        lambda wildcards: STUDY.loaded(wildcards.model).files(),
    output:
        temp(WEIGHTS) if TEMP_WEIGHTS else WEIGHTS,
    log:
        PATHS.log("convert", "{model}", "{key}"),
    wildcard_constraints:
        model=one_of(name for name, model in MODELS.items() if model.gguf),
    resources:
        **loading(lambda wildcards: [MODELS[wildcards.model]]),
    params:
        study=PATHS.saved,
    shell:
        "probesteer convert --study {params.study:q} --model {wildcards.model:q} 2> >(tee {log:q} >&2)"


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
