# One forward pass per text caches every block; the cache is shared by all studies with the same model, texts and pooling.


rule activations:
    input:
        card=card_of,
        weights=weights_of,
        texts=lambda wildcards: TEXTS[wildcards.concept],
    output:
        update(STUDY.activations_path("{model}", "{key}", "{concept}")),
    log:
        ROOT / "logs/activations/{model}.{concept}.{key}.log",
    resources:
        **MODEL_JOB,
    params:
        data=data_options,
    shell:
        "probesteer activations --card {input.card} {params.data} --output {output} 2> {log}"
