# What each model is. A hub model's configuration is read here, so this runs where the network is.


def card_options(wildcards):
    model = STUDY[wildcards.model]
    options = [f"--source {shlex.quote(model.source)} --blocks {model.block_count()} --dtype {model.dtype}"]
    options += [f"--revision {shlex.quote(model.revision)}"] if model.revision else []
    options += [] if model.chat_template else ["--no-chat-template"]
    options += ["--trust-remote-code"] if model.trust_remote_code else []
    return " ".join(options)


rule model:
    input:
        lambda wildcards: STUDY[wildcards.model].files(),
    output:
        card=ROOT / "models/{model}.json",
    log:
        ROOT / "logs/model/{model}.log",
    params:
        options=card_options,
    localrule: True
    shell:
        "probesteer model --name {wildcards.model} {params.options} --output {output.card} 2> {log}"
