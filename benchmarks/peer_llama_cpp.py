"""llama.cpp writes rows of tokens together, under one control vector for all: a peer of our sweep, in an environment of its own.

Reads one JSON object from standard input: ``file`` (GGUF), ``rows`` (token ids of each prompt), ``tokens`` (to write),
``at_once`` (rows in one batch), ``threads``, ``repeats``, ``control`` (``[block][d_model]``, added behind blocks 1 and on).
Prints one with ``seconds``. Tokens are chosen greedily, which costs least.
"""

import ctypes
import json
import sys
import time

import llama_cpp
import numpy as np


def put(batch, place, token, position, row, wanted):
    batch.token[place], batch.pos[place] = token, position
    batch.n_seq_id[place], batch.seq_id[place][0], batch.logits[place] = 1, row, wanted


def written(context, vocabulary, rows, count):
    """How many tokens all rows came to, all prompts read in one batch and then a token of each row at a time."""
    llama_cpp.llama_memory_clear(llama_cpp.llama_get_memory(context), True)
    batch = llama_cpp.llama_batch_init(sum(map(len, rows)), 0, 1)
    last, place = [], 0
    for row, ids in enumerate(rows):
        for position, token in enumerate(ids):
            put(batch, place, token, position, row, position == len(ids) - 1)
            place += 1
        last.append(place - 1)
    total = 0
    for step in range(count):
        batch.n_tokens = place
        if llama_cpp.llama_decode(context, batch):
            raise SystemExit("llama.cpp could not read the batch")
        chosen = [
            int(np.ctypeslib.as_array(llama_cpp.llama_get_logits_ith(context, i), (vocabulary,)).argmax()) for i in last
        ]
        total += len(chosen)
        for row, token in enumerate(chosen):
            put(batch, row, token, len(rows[row]) + step, row, True)
        last, place = list(range(len(rows))), len(rows)
    llama_cpp.llama_batch_free(batch)
    return total


def main():
    asked = json.load(sys.stdin)
    at_once, rows = asked["at_once"], asked["rows"]
    silent = llama_cpp.llama_log_callback(lambda *_: None)  # held for as long as it may be called
    llama_cpp.llama_log_set(silent, ctypes.c_void_p())
    llama_cpp.llama_backend_init()
    model = llama_cpp.llama_model_load_from_file(asked["file"].encode(), llama_cpp.llama_model_default_params())
    how = llama_cpp.llama_context_default_params()
    how.n_seq_max, how.n_threads, how.n_threads_batch = at_once, asked["threads"], asked["threads"]
    how.n_ctx = at_once * (max(map(len, rows)) + asked["tokens"] + 8)
    how.n_batch = how.n_ubatch = max(512, at_once * max(map(len, rows)))
    context = llama_cpp.llama_init_from_model(model, how)
    control = np.ascontiguousarray(asked["control"], dtype=np.float32)
    pointer = control.ctypes.data_as(ctypes.POINTER(ctypes.c_float))
    if llama_cpp.llama_set_adapter_cvec(context, pointer, control.size, control.shape[1], 1, len(control) + 1):
        raise SystemExit("llama.cpp took no control vector")
    vocabulary = llama_cpp.llama_vocab_n_tokens(llama_cpp.llama_model_get_vocab(model))
    seconds, tokens = [], 0
    for _ in range(asked["repeats"] + 1):
        start = time.monotonic()
        tokens = sum(
            written(context, vocabulary, rows[i : i + at_once], asked["tokens"]) for i in range(0, len(rows), at_once)
        )
        seconds.append(time.monotonic() - start)
    print(json.dumps({"seconds": seconds[1:], "tokens": tokens, "version": llama_cpp.__version__}))


if __name__ == "__main__":
    main()
