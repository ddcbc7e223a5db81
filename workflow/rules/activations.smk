# One forward pass per text caches every block; the cache is shared by all studies with the same model, texts and pooling.


rule activations:
    input:
        card=card_of,
        weights=weights_of,
        pairs=lambda wildcards: PATHS.pairs(wildcards.concept, PAIR_SETS[wildcards.concept].key),
        texts=lambda wildcards: pairs_files(PAIR_SETS[wildcards.concept], STUDY),
    output:
        update(PATHS.activations("{model}", "{concept}", "{key}")),
    log:
        PATHS.log("activations", "{model}", "{concept}", "{key}"),
    threads: MODEL_THREADS
    resources:
        **MODEL_JOB,
    params:
        study=PATHS.saved,
    shell:
        "probesteer activations --study {params.study:q} --model {wildcards.model:q} --concept {wildcards.concept:q} 2> {log:q}"
