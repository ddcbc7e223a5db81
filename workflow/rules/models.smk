# What each model is. A hub model's configuration is read here, so this runs where the network is.


rule model:
    input:
        lambda wildcards: model_of(wildcards).files(),
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
