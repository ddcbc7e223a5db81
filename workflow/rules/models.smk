# What each model is. Weights are fetched and read about here, where the network is; jobs take them from the hub's cache.


rule fetch:
    output:
        **({"weights": temp(directory(weights_folder("{model}", "{key}")))} if TEMP_WEIGHTS else {}),
        receipt="results/models/{model}/{key}.fetched.json",
    log:
        ROOT / "logs/fetch/{model}.{key}.log",
    retries: 2  # files that are there are kept
    localrule: True
    params:
        options=hub_options,
    shell:
        "probesteer fetch {params.options} --output {output.receipt} 2> >(tee {log} >&2)"


rule model:
    input:
        files=lambda wildcards: model_of(wildcards).files(),
        receipt=receipt_of,
        weights=weights_of,
    output:
        card="results/models/{model}/{key}.json",
    log:
        ROOT / "logs/model/{model}.{key}.log",
    retries: 0
    localrule: True
    params:
        options=card_options,
    shell:
        "probesteer model --name {wildcards.model} {params.options} --output {output.card} 2> {log}"
