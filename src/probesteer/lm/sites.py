"""Where the attention and the MLP of a block write into the residual stream: one name for each, whatever the architecture."""

from torch import nn
from transformers import PreTrainedModel

from probesteer.errors import InputError
from probesteer.lm.blocks import decoder_blocks

BLOCK, ATTENTION, MLP = "block", "attention", "mlp"
SITES = (BLOCK, ATTENTION, MLP)
# What blocks call them. Where a norm stands between a part and the stream, its output is what the stream gets.
NAMES = {
    ATTENTION: ("post_self_attn_layernorm", "self_attn", "attn", "attention", "self_attention"),
    MLP: ("post_mlp_layernorm", "post_feedforward_layernorm", "mlp", "feed_forward", "block_sparse_moe", "moe", "fc2"),
}
# Blocks whose parts add the stream to what they return, so that their output is no contribution to it.
WHOLE = ("BloomBlock", "MptBlock")


def part(block: nn.Module, site: str) -> nn.Module:
    """The module of a block whose output is that of a site. Raises InputError where the block has none."""
    if site == BLOCK:
        return block
    kind = type(block).__name__
    names = NAMES[site]
    if site == ATTENTION and hasattr(block, "post_feedforward_layernorm"):
        names = ("post_attention_layernorm", *names)  # elsewhere it stands before the MLP
    name = next((name for name in names if isinstance(getattr(block, name, None), nn.Module)), None)
    if name is None or kind in WHOLE:
        raise InputError(f"{kind}: its {site} has no output of its own at {', '.join(names)}; compare the blocks alone")
    return getattr(block, name)


def sites(model: PreTrainedModel) -> dict[tuple[str, int], nn.Module]:
    """The module of every site of every block, by site and block. Raises InputError for an architecture without them."""
    blocks = list(decoder_blocks(model))
    return {(site, layer): part(block, site) for site in SITES for layer, block in enumerate(blocks)}
