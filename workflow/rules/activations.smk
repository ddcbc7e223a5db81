# One forward pass per text caches every block; the cache is shared by all studies with the same model, texts and pooling.


rule activations:
    input:
        card=card_of,
        texts=TEXTS,
    output:
        STUDY.activations_path("{model}", "{key}"),
    log:
        ROOT / "logs/activations/{model}.{key}.log",
    resources:
        **MODEL_JOB,
    params:
        concept=STUDY.concept_folder,
        pooling=STUDY.pooling,
        ablations=STUDY.ablations,
        pairs=PAIRS,
    shell:
        "probesteer activations --card {input.card} --concept {params.concept} --pooling {params.pooling}"
        " --ablations {params.ablations} {params.pairs} --output {output} 2> {log}"
