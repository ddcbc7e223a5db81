"""llama.cpp with a control vector, through the C API that the wheel `xllamacpp` carries; nothing of its Python is used.

Written for 2026.10.11549. Parameter structs are opaque blocks of bytes, larger than theirs: the x86-64 ABI returns such structs
through a pointer and passes them on the stack, where bytes to spare do no harm. The fields that are set stand at the head.
"""

import ctypes as c
import importlib.util
from collections.abc import Sequence
from pathlib import Path

import gguf
import numpy as np

PARAMETERS = 512  # bytes; the structs take about 72 and 160
UNSIGNED_HEAD = ("n_ctx", "n_batch", "n_ubatch", "n_seq_max")  # uint32 each, the first fields of llama_context_params
DEFAULTS = [512, 2048, 512, 1]
MAX_SEQUENCES = 256


class Parameters(c.Structure):
    _fields_ = [("head", c.c_uint32 * 4), ("rest", c.c_uint8 * (PARAMETERS - 16))]


class Batch(c.Structure):
    _fields_ = [
        ("n_tokens", c.c_int32),
        ("token", c.POINTER(c.c_int32)),
        ("embd", c.c_void_p),
        ("pos", c.POINTER(c.c_int32)),
        ("n_seq_id", c.POINTER(c.c_int32)),
        ("seq_id", c.POINTER(c.POINTER(c.c_int32))),
        ("logits", c.POINTER(c.c_int8)),
    ]


class Text(c.Structure):
    """A `std::string` of libstdc++ as it was before C++11, which the wheel is built with: behind this head, its characters."""

    _fields_ = [("length", c.c_size_t), ("capacity", c.c_size_t), ("references", c.c_int), ("characters", c.c_char * 4096)]


class ControlFile(c.Structure):
    """`common_control_vector_load_info`"""

    _fields_ = [("strength", c.c_float), ("path", c.c_void_p)]


class Files(c.Structure):
    """A `std::vector`; what is loaded is one behind its width."""

    _fields_ = [("begin", c.c_void_p), ("end", c.c_void_p), ("room", c.c_void_p)]


class Loaded(c.Structure):
    """`common_control_vector_data`"""

    _fields_ = [("width", c.c_int), ("values", Files)]


LOADER = "_Z26common_control_vector_loadRKSt6vectorI31common_control_vector_load_infoSaIS0_EE"  # C++, of `--control-vector`

SIGNATURES: dict[str, tuple] = {  # name: (result, arguments)
    "llama_backend_init": (None,),
    "llama_model_default_params": (Parameters,),
    "llama_context_default_params": (Parameters,),
    "llama_model_load_from_file": (c.c_void_p, c.c_char_p, Parameters),
    "llama_init_from_model": (c.c_void_p, c.c_void_p, Parameters),
    "llama_model_n_embd": (c.c_int32, c.c_void_p),
    "llama_model_n_layer": (c.c_int32, c.c_void_p),
    LOADER: (c.c_void_p, c.c_void_p, c.c_void_p),  # where the result goes, the files
    "llama_set_n_threads": (None, c.c_void_p, c.c_int32, c.c_int32),
    "llama_set_adapter_cvec": (c.c_int32, c.c_void_p, c.c_void_p, c.c_size_t, c.c_int32, c.c_int32, c.c_int32),
    "llama_get_memory": (c.c_void_p, c.c_void_p),
    "llama_memory_clear": (None, c.c_void_p, c.c_bool),
    "llama_memory_seq_cp": (None, c.c_void_p, c.c_int32, c.c_int32, c.c_int32, c.c_int32),
    "llama_batch_init": (Batch, c.c_int32, c.c_int32, c.c_int32),
    "llama_decode": (c.c_int32, c.c_void_p, Batch),
    "llama_get_logits_ith": (c.POINTER(c.c_float), c.c_void_p, c.c_int32),
    "llama_sampler_chain_default_params": (c.c_bool,),
    "llama_sampler_chain_init": (c.c_void_p, c.c_bool),
    "llama_sampler_chain_add": (None, c.c_void_p, c.c_void_p),
    "llama_sampler_init_temp": (c.c_void_p, c.c_float),
    "llama_sampler_init_dist": (c.c_void_p, c.c_uint32),
    "llama_sampler_sample": (c.c_int32, c.c_void_p, c.c_void_p, c.c_int32),
    "llama_free": (None, c.c_void_p),
    "llama_model_free": (None, c.c_void_p),
}
SILENT = c.CFUNCTYPE(None, c.c_int, c.c_char_p, c.c_void_p)(lambda *_: None)


def installed() -> bool:
    """Whether the wheel is there."""
    return importlib.util.find_spec("xllamacpp") is not None


def library() -> c.CDLL:
    """The C API, its types declared."""
    spec = importlib.util.find_spec("xllamacpp")
    assert spec and spec.origin
    loaded = c.CDLL(str(next(Path(spec.origin).parent.glob("*.so"))))
    for name, (result, *arguments) in SIGNATURES.items():
        function = getattr(loaded, name)
        function.restype, function.argtypes = result, arguments
    loaded.llama_log_set(SILENT, None)
    loaded.llama_backend_init()
    return loaded


class LlamaCpp:
    """A model file and a context of `rows` sequences, each of at most `tokens` tokens, on so many threads."""

    def __init__(self, path: Path, rows: int, tokens: int, threads: int) -> None:
        assert rows <= MAX_SEQUENCES
        self.api = library()
        self.model = self.api.llama_model_load_from_file(str(path).encode(), self.api.llama_model_default_params())
        assert self.model, path
        parameters = self.api.llama_context_default_params()
        assert list(parameters.head) == DEFAULTS, "another release: its llama_context_params begins otherwise"
        batch = max(rows, 2048)
        parameters.head = (c.c_uint32 * 4)(rows * -(-tokens // 256) * 256, batch, 512, rows)
        self.context = self.api.llama_init_from_model(self.model, parameters)
        assert self.context
        self.memory = self.api.llama_get_memory(self.context)
        self.hidden = self.api.llama_model_n_embd(self.model)
        self.batch = self.api.llama_batch_init(batch, 0, 1)
        self.api.llama_set_n_threads(self.context, threads, threads)

    def close(self) -> None:
        """Give the memory back."""
        self.api.llama_free(self.context)
        self.api.llama_model_free(self.model)

    def threads(self, count: int) -> None:
        self.api.llama_set_n_threads(self.context, count, count)

    def push(self, layer: int, push: np.ndarray | None) -> None:
        """Add `push`, float (hidden,), to the output of a block, in every sequence; its buffer begins at block 1."""
        assert layer > 0
        rows = np.zeros((layer, self.hidden), np.float32)
        if push is not None:
            rows[layer - 1] = push
        assert not self.api.llama_set_adapter_cvec(self.context, rows.ctypes.data, rows.size, self.hidden, layer, layer)

    def control_vector(self, path: Path, strength: float) -> None:
        """Open a control vector file and push with it in every block, as the program does for `--control-vector-scaled`."""
        name = str(path).encode()
        text = Text(len(name), len(name), 1, name)
        file = ControlFile(strength, c.addressof(text) + Text.characters.offset)
        start, loaded = c.addressof(file), Loaded()
        files = Files(start, start + c.sizeof(file), start + c.sizeof(file))
        getattr(self.api, LOADER)(c.addressof(loaded), c.addressof(files))
        assert loaded.width == self.hidden, path
        values, count = loaded.values, (loaded.values.end - loaded.values.begin) // c.sizeof(c.c_float)
        last = self.api.llama_model_n_layer(self.model)
        assert not self.api.llama_set_adapter_cvec(self.context, values.begin, count, loaded.width, 1, last)

    def decode(self, entries: Sequence[tuple[int, int, int, bool]]) -> None:
        """Run (token, position, sequence, whether its logits are wanted)."""
        batch = self.batch
        batch.n_tokens = len(entries)
        for at, (token, position, sequence, wanted) in enumerate(entries):
            batch.token[at], batch.pos[at], batch.logits[at] = token, position, wanted
            batch.n_seq_id[at], batch.seq_id[at][0] = 1, sequence
        assert not self.api.llama_decode(self.context, batch)

    def logits(self, prompt: Sequence[int], vocabulary: int) -> np.ndarray:
        """Of every position of a prompt: float32 (tokens, vocabulary)."""
        self.api.llama_memory_clear(self.memory, True)
        self.decode([(token, at, 0, True) for at, token in enumerate(prompt)])
        found = [self.api.llama_get_logits_ith(self.context, at) for at in range(len(prompt))]
        return np.stack([np.ctypeslib.as_array(row, (vocabulary,)) for row in found]).copy()

    def sample(self, prompts: Sequence[Sequence[int]], samples: int, new: int, temperature: float) -> list[list[int]]:
        """`samples` continuations of each prompt, `new` tokens each, all rows in one batch; a prompt is computed once."""
        api, sampler = self.api, self.api.llama_sampler_chain_init(True)
        api.llama_sampler_chain_add(sampler, api.llama_sampler_init_temp(temperature))
        api.llama_sampler_chain_add(sampler, api.llama_sampler_init_dist(0))
        api.llama_memory_clear(self.memory, True)
        chosen: list[list[int]] = []
        for number, prompt in enumerate(prompts):
            first = number * samples
            self.decode([(token, at, first, at + 1 == len(prompt)) for at, token in enumerate(prompt)])
            for row in range(first, first + samples):
                chosen.append([api.llama_sampler_sample(sampler, self.context, len(prompt) - 1)])
                if row > first:
                    api.llama_memory_seq_cp(self.memory, first, row, -1, -1)
        starts = [len(prompt) for prompt in prompts for _ in range(samples)]
        for step in range(new - 1):
            self.decode([(row[-1], start + step, at, True) for at, (row, start) in enumerate(zip(chosen, starts, strict=True))])
            for at, row in enumerate(chosen):
                row.append(api.llama_sampler_sample(sampler, self.context, at))
        return chosen


def as_float32(source: Path, target: Path) -> None:
    """Write a GGUF file again with every tensor dequantised: what llama.cpp then computes is not rounded to 8 bits."""
    reader = gguf.GGUFReader(source)
    writer = gguf.GGUFWriter(target, reader.fields["general.architecture"].contents())
    for field in reader.fields.values():
        if not field.name.startswith(("GGUF.", "general.architecture")):
            kind, *of = field.types
            writer.add_key_value(field.name, field.contents(), kind, of[-1] if of else None)
    for tensor in reader.tensors:
        values = gguf.dequantize(tensor.data, tensor.tensor_type).astype(np.float32)
        writer.add_tensor(tensor.name, values, raw_dtype=gguf.GGMLQuantizationType.F32)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
