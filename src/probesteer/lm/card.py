"""A model's card: what later jobs need to know of it, verified before any of them loads it."""

from pathlib import Path
from typing import Any

from huggingface_hub import snapshot_download
from transformers import PretrainedConfig, PreTrainedModel

from probesteer.errors import InputError
from probesteer.files.digests import digest, file_digest
from probesteer.lm import verify
from probesteer.lm.checkpoint import Checkpoint, checkpoint_folder
from probesteer.lm.gguf import converted_from, quantisation
from probesteer.study.model import Model


def model_card(model: Model, name: str, revision: str | None = None, weights_in: Path | None = None) -> dict[str, Any]:
    """The card of a model whose files are on this machine: in its folder, in `weights_in`, or in the hub's cache.

    `digest` names what is computed: the files of a local folder, or hub id and commit; the type of the weights; what the
    chat template is told. Parameters are counted on the meta device. Raises InputError where the model is not what its files
    and the study say.
    """
    where = f"model {name}: {model.source}{f' at {revision}' * bool(revision)}"
    try:
        there = weights_in or (model.source if model.local else None)
        folder = Path(there or snapshot_download(model.source, revision=revision, local_files_only=True))
        if model.gguf and not converted_from(folder, model.gguf):
            raise InputError(f"{folder} holds the weights of another file; delete it and run again")
        with verify.quietly():
            config, built, loaded = verified(model, checkpoint_folder(folder))
    except (InputError, OSError) as error:
        raise InputError(f"{where}: {error}") from error
    revision = revision if model.local or weights_in else folder.name  # a snapshot's folder is named by its commit
    weights: Any = {file.name: file_digest(file) for file in model.files()} if model.local else [model.source, revision]
    dtype = model.dtype if model.dtype in ("int8", "int4") else loaded
    text = config.get_text_config()
    return {
        "name": name,
        "source": model.source,
        "folder": str(weights_in or ""),
        "revision": revision,
        "digest": digest([weights, dtype, model.chat_template and model.chat_template_args]),
        "dtype": dtype,
        "quantisation": quantisation(model.gguf) if model.gguf else verify.quantization(config),
        "chat_template": model.chat_template,
        "chat_template_args": model.chat_template_args,
        "trust_remote_code": model.trust_remote_code,
        "architecture": type(built).__name__,
        "blocks": model.block_count(),
        "hidden_size": text.hidden_size,
        "vocabulary": text.vocab_size,
        "parameters": sum(parameter.numel() for parameter in built.parameters()),
        **({"training_step": step} if (step := model.training_step) else {}),
    }


def verified(model: Model, files: Checkpoint) -> tuple[PretrainedConfig, PreTrainedModel, str]:
    """The configuration, the model on the meta device, and the type that its weights load as. Raises InputError."""
    verify.verify_weights(files)
    config, built = verify.verify_architecture(files, model)
    verify.verify_packages(config, model)
    quantised = verify.quantization(config)
    loaded = model.dtype if quantised else verify.verify_tensors(files, config, built, model)
    verify.verify_prompt(verify.verify_tokenizer(files, model), built, model)
    verify.verify_values(files)
    return config, built, loaded
