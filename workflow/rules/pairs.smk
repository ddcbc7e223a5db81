# Pairs: downloaded where a study names an address, clustered into near-duplicates and described; or, on demand, written by
# language models: `snakemake write_pairs`.

if DOWNLOADS := STUDY.pairs.downloads if STUDY.pairs else []:

    rule download:
        output:
            [source.file for source in DOWNLOADS],
        log:
            PATHS.log("download", "pairs"),
        localrule: True
        resources:
            login=1,
        params:
            study=PATHS.saved,
            sha256=[source.sha256 for source in DOWNLOADS],
        shell:
            "probesteer download --study {params.study:q} 2> {log:q}"


rule pairs:
    input:
        lambda wildcards: list(PAIR_SETS[wildcards.concept].files),
    output:
        pairs=PATHS.pairs("{concept}", "{key}"),
        card=PATHS.data_card("{concept}", "{key}"),
    log:
        PATHS.log("pairs", "{concept}", "{key}"),
    localrule: True
    resources:
        login=1,
    params:
        study=PATHS.saved,
    shell:
        "probesteer pairs --study {params.study:q} --concept {wildcards.concept:q} 2> {log:q}"


rule write_pairs:
    input:
        STUDY.concept_folder / "concept.yaml",
    output:
        PATHS.written / "pairs.jsonl",
    log:
        PATHS.log("write_pairs", "pairs"),
    localrule: True
    resources:
        login=1,
    params:
        study=PATHS.saved,
        writing=STUDY.writing.model_dump() if STUDY.writing else {},
    shell:
        "probesteer write-pairs --study {params.study:q} 2> >(tee {log:q} >&2)"
