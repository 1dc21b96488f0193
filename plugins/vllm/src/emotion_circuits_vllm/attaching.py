"""Where vLLM is held: the model runner's batch, the requests that come in, and the answers that go out.

vLLM has no seam for changing hidden states, so that methods of it are wrapped, each in one place here. What is not as expected is
refused when the server starts; nothing is left out in silence.
"""

from __future__ import annotations

import contextlib
import functools
import os
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import nn

from emotion_circuits_vllm.acting import Acting, Piece, stream
from emotion_circuits_vllm.asking import KEY, Asked, AskedWrongError, read
from emotion_circuits_vllm.report import report
from emotion_circuits_vllm.shelf import Shelf

__all__ = ["NotSteerableError", "attach", "refusals"]

_ATTACHED = "_emotion_circuits_attached"


class NotSteerableError(RuntimeError):
    """This server would run unsteered, or could not prove that it does not."""


def refusals(config: Any) -> list[str]:
    """Why a configuration of vLLM cannot be steered; none: it can.

    Args:
        config: ``VllmConfig``.
    """
    found = []
    compilation = config.compilation_config
    graphs = getattr(compilation.cudagraph_mode, "name", str(compilation.cudagraph_mode))
    compiled = getattr(compilation.mode, "name", str(compilation.mode))
    if compiled != "NONE" or graphs not in ("NONE", "None"):
        found.append(
            f"the model is compiled or replayed as a graph ({compiled}, {graphs}), where nothing can be changed: start with "
            "--enforce-eager"
        )
    if config.use_v2_model_runner:
        found.append("model runner V2 is not known here: set VLLM_USE_V2_MODEL_RUNNER=0")
    if config.scheduler_config.async_scheduling:
        found.append(
            "a step begins before the last one is known to have ended a text: start with --no-async-scheduling"
        )
    if config.speculative_config is not None:
        found.append("with speculative decoding tokens are steered that are thrown away: leave it out")
    if config.parallel_config.pipeline_parallel_size > 1:
        found.append("the proof of a pipeline's earlier stages does not come back: use --tensor-parallel-size instead")
    if getattr(config.parallel_config, "use_ubatching", False):
        found.append("micro-batches (DBO) are not known here: leave them out")
    if "StableLmForCausalLM" in (config.model_config.hf_config.architectures or ()):
        found.append(
            "StableLM's blocks hand on a part that nobody reads beside the whole stream, so that what was done would be measured "
            "wrongly: use the embedded engine"
        )
    if config.kv_transfer_config is not None:
        found.append("keys and values from another server may be of another steering: leave the KV connector out")
    return found


def attach(shelf: Shelf) -> None:
    """Hold vLLM in this process; a second call does nothing.

    Args:
        shelf: the vectors that it has.
    """
    # Before vLLM decides: the newer runner lays its batches out elsewhere.
    os.environ.setdefault("VLLM_USE_V2_MODEL_RUNNER", "0")
    from vllm.v1.engine.input_processor import InputProcessor

    if getattr(InputProcessor, _ATTACHED, False):
        return
    setattr(InputProcessor, _ATTACHED, True)
    _check_requests(shelf)
    _salt_requests(shelf)
    _carry_reports(shelf)
    _steer_workers(shelf)


def _wrap(owner: Any, name: str, make: Callable[[Callable[..., Any]], Callable[..., Any]]) -> None:
    """Put a method in the place of another that it is given."""
    kept = owner.__dict__.get(name)
    if kept is None:
        raise NotSteerableError(f"this vLLM has no {owner.__name__}.{name}; the plugin was made for vLLM 0.32")
    if isinstance(kept, classmethod):
        setattr(owner, name, classmethod(functools.wraps(kept.__func__)(make(kept.__func__))))
    else:
        setattr(owner, name, functools.wraps(kept)(make(kept)))


def asked_of(params: Any, shelf: Shelf) -> Asked | None:
    """What sampling parameters hold; ``None``: nothing that would change anything.

    Raises:
        AskedWrongError: it cannot be done.
    """
    given = (getattr(params, "extra_args", None) or {}).get(KEY)
    if given is None:
        return None
    asked = read(given, shelf.names(), shelf.doses)
    return asked if asked.edits else None


# -- in the front: requests are refused before they wait ---------------------------------------------------------------------


def _check_requests(shelf: Shelf) -> None:
    from vllm.entrypoints.openai.chat_completion.protocol import ChatCompletionRequest
    from vllm.entrypoints.openai.completion.protocol import CompletionRequest
    from vllm.exceptions import VLLMValidationError
    from vllm.v1.engine.input_processor import InputProcessor

    def processing(made: Callable[..., Any]) -> Callable[..., Any]:
        def process_inputs(self: Any, request_id: str, prompt: Any, params: Any, *rest: Any, **named: Any) -> Any:
            try:
                asked = asked_of(params, shelf)
                if asked is not None:
                    if params.n > 1:
                        raise AskedWrongError("n: a steered request is one text; send one request for each")
                    model = self.vllm_config.model_config
                    layers = model.hf_text_config.num_hidden_layers
                    shelf.get(asked.vectors).check(asked, layers, model.get_hidden_size())
                    params.extra_args = {**params.extra_args, KEY: asked.text()}
            except AskedWrongError as error:
                raise VLLMValidationError(f"{KEY}: {error}", parameter=KEY) from error
            return made(self, request_id, prompt, params, *rest, **named)

        return process_inputs

    _wrap(InputProcessor, "process_inputs", processing)

    def beaming(made: Callable[..., Any]) -> Callable[..., Any]:
        def to_beam_search_params(self: Any, *rest: Any, **named: Any) -> Any:
            if (self.vllm_xargs or {}).get(KEY) is not None:
                raise VLLMValidationError(f"{KEY}: beam search writes without what a request asks for", parameter=KEY)
            return made(self, *rest, **named)

        return to_beam_search_params

    for body in (CompletionRequest, ChatCompletionRequest):
        _wrap(body, "to_beam_search_params", beaming)


# -- in the core: what was computed under one steering is never read by another ----------------------------------------------


def _salt_requests(shelf: Shelf) -> None:
    from vllm.v1.core.sched.scheduler import Scheduler
    from vllm.v1.request import Request

    def coming(made: Callable[..., Any]) -> Callable[..., Any]:
        def from_engine_core_request(cls: Any, request: Any, block_hasher: Any) -> Any:
            asked = asked_of(request.sampling_params, shelf)
            if asked is not None:
                salt = asked.salt(len(request.prompt_token_ids or ()), shelf.get(asked.vectors).mark(asked))
                request.cache_salt = f"{request.cache_salt or ''}|{KEY}|{salt}"
            return made(cls, request, block_hasher)

        return from_engine_core_request

    _wrap(Request, "from_engine_core_request", coming)

    def updating(made: Callable[..., Any]) -> Callable[..., Any]:
        def update_from_output(self: Any, scheduler_output: Any, model_runner_output: Any) -> Any:
            sums = getattr(model_runner_output, KEY, None) or {}
            found = made(self, scheduler_output, model_runner_output)
            for one in found.values() if sums else ():
                for output in one.outputs:
                    if output.request_id in sums:
                        output.kv_transfer_params = {**(output.kv_transfer_params or {}), KEY: sums[output.request_id]}
            return found

        return update_from_output

    _wrap(Scheduler, "update_from_output", updating)


# -- in the front again: an answer tells what was done, or is an error -------------------------------------------------------


def _carry_reports(shelf: Shelf) -> None:
    from vllm.logger import init_logger
    from vllm.v1.engine import FinishReason
    from vllm.v1.engine.output_processor import RequestState

    log = init_logger("vllm.emotion_circuits")

    def beginning(made: Callable[..., Any]) -> Callable[..., Any]:
        def from_new_request(cls: Any, *rest: Any, **named: Any) -> Any:
            state = made(cls, *rest, **named)
            request = named.get("request") or next((r for r in rest if hasattr(r, "sampling_params")), None)
            state.emotion_circuits = None if request is None else asked_of(request.sampling_params, shelf)
            return state

        return from_new_request

    _wrap(RequestState, "from_new_request", beginning)

    def answering(made: Callable[..., Any]) -> Callable[..., Any]:
        def make_request_output(
            self: Any, new_token_ids: Any, pooling_output: Any, finish_reason: Any, stop_reason: Any,
            kv_transfer_params: Any = None, *rest: Any, **named: Any,
        ) -> Any:  # fmt: skip
            asked: Asked | None = getattr(self, "emotion_circuits", None)
            if asked is not None and finish_reason is None and not asked.follow:
                kv_transfer_params = None
            elif asked is not None:
                told = report(asked, shelf.get(asked.vectors), (kv_transfer_params or {}).get(KEY))
                kv_transfer_params = {KEY: told}
                ends = finish_reason not in (None, FinishReason.ABORT, FinishReason.ERROR)
                if ends and told["still"] is not None:
                    log.error("request %s was not steered: %s", self.external_req_id, told["still"])
                    finish_reason, stop_reason = FinishReason.ERROR, told["still"]
            return made(
                self, new_token_ids, pooling_output, finish_reason, stop_reason, kv_transfer_params, *rest, **named
            )

        return make_request_output

    _wrap(RequestState, "make_request_output", answering)


# -- in the workers ------------------------------------------------------------------------------------------------------------


def _steer_workers(shelf: Shelf) -> None:
    from vllm.v1.worker.gpu_model_runner import GPUModelRunner
    from vllm.v1.worker.gpu_worker import Worker

    def loading(made: Callable[..., Any]) -> Callable[..., Any]:
        def load_model(self: Any, *rest: Any, **named: Any) -> Any:
            wrong = refusals(self.vllm_config)
            if wrong:
                raise NotSteerableError("emotion-circuits: this server cannot be steered: " + "; ".join(wrong))
            found = made(self, *rest, **named)
            _hook(self.model_runner)
            return found

        return load_model

    _wrap(Worker, "load_model", loading)

    def warming(made: Callable[..., Any]) -> Callable[..., Any]:
        def compile_or_warm_up_model(self: Any, *rest: Any, **named: Any) -> Any:
            found = made(self, *rest, **named)
            _probe(self.model_runner)
            return found

        return compile_or_warm_up_model

    from vllm.platforms import current_platform

    if current_platform.is_cpu():
        from vllm.v1.worker.cpu_worker import CPUWorker

        _wrap(CPUWorker, "compile_or_warm_up_model", warming)
    else:
        _wrap(Worker, "compile_or_warm_up_model", warming)

    def states(made: Callable[..., Any]) -> Callable[..., Any]:
        def _update_states(self: Any, scheduler_output: Any) -> Any:
            acting: Acting | None = getattr(self, KEY, None)
            if acting is not None:
                acting.forget(list(scheduler_output.finished_req_ids))
                for new in scheduler_output.scheduled_new_reqs:
                    asked = asked_of(new.sampling_params, shelf)
                    if asked is not None:
                        acting.take(new.req_id, asked, shelf.get(asked.vectors), len(new.prompt_token_ids or ()))
            return made(self, scheduler_output)

        return _update_states

    _wrap(GPUModelRunner, "_update_states", states)

    def preparing(made: Callable[..., Any]) -> Callable[..., Any]:
        def _prepare_inputs(self: Any, scheduler_output: Any, num_scheduled_tokens: Any) -> Any:
            found = made(self, scheduler_output, num_scheduled_tokens)
            acting: Acting | None = getattr(self, KEY, None)
            if acting is not None:
                batch = self.input_batch
                acting.prepare(
                    [
                        Piece(request, int(start), int(count))
                        for request, start, count in zip(
                            batch.req_ids[: batch.num_reqs],
                            batch.num_computed_tokens_cpu[: batch.num_reqs].tolist(),
                            num_scheduled_tokens.tolist(),
                            strict=True,
                        )
                    ]
                )
            return found

        return _prepare_inputs

    _wrap(GPUModelRunner, "_prepare_inputs", preparing)

    def executing(made: Callable[..., Any]) -> Callable[..., Any]:
        def execute_model(self: Any, *rest: Any, **named: Any) -> Any:
            try:
                return made(self, *rest, **named)
            finally:
                if getattr(self, KEY, None) is not None:
                    getattr(self, KEY).rest()

        return execute_model

    _wrap(GPUModelRunner, "execute_model", executing)

    def sampling(made: Callable[..., Any]) -> Callable[..., Any]:
        def sample_tokens(self: Any, *rest: Any, **named: Any) -> Any:
            with _undrawn(self):
                output = made(self, *rest, **named)
            acting: Acting | None = getattr(self, KEY, None)
            if acting is not None and output is not None and getattr(output, "req_ids", None):
                setattr(output, KEY, acting.sums(output.req_ids))
            return output

        return sample_tokens

    _wrap(GPUModelRunner, "sample_tokens", sampling)


@contextlib.contextmanager
def _undrawn(runner: Any) -> Iterator[None]:
    """Prompts that are read in parts have their draws left alone: what is drawn after a part that is not the last is thrown away.

    vLLM takes such a draw back by the generator's offset. Generators of a CPU have none, and the whole engine ends. Without a
    generator of its own a row draws from the common one, which no text depends on.
    """
    held = {}
    if runner.device.type == "cpu":
        generators, rows = runner.input_batch.generators, runner.discard_request_mask.np[: runner.input_batch.num_reqs]
        held = {row: generators.pop(row) for row in map(int, rows.nonzero()[0]) if row in generators}
    try:
        yield
    finally:
        if held:
            generators.update(held)


def _blocks(model: nn.Module, count: int) -> nn.ModuleList:
    """The decoder blocks of a model: the one list of modules as long as it has layers, nearest to the root."""
    lists = [(name, m) for name, m in model.named_modules() if isinstance(m, nn.ModuleList) and len(m) == count]
    if not lists:
        raise NotSteerableError(f"emotion-circuits: {type(model).__name__} has no list of {count} decoder blocks")
    return min(lists, key=lambda found: (found[0].count("."), found[0]))[1]


def _hook(runner: Any) -> None:
    """Listen to every decoder block of this worker."""
    model, config = runner.get_model(), runner.vllm_config.model_config
    acting = Acting(runner.device, runner.dtype)
    setattr(runner, KEY, acting)
    for layer, block in enumerate(_blocks(model, config.hf_text_config.num_hidden_layers)):
        block.register_forward_hook(lambda _module, _inputs, output, layer=layer: acting.after_block(layer, output))


def _probe(runner: Any) -> None:
    """Run a pass that nobody asked for with every layer pushed in turn: what the model hands on at its end must change.

    Raises:
        NotSteerableError: a layer that is not run, or whose push does not reach the end.
    """
    acting: Acting = getattr(runner, KEY)
    tokens, config = 4, runner.vllm_config.model_config
    layers, width = config.hf_text_config.num_hidden_layers, config.get_hidden_size()
    delta = torch.ones(width) * 3.0
    delta[::2] = -1.0

    def states() -> torch.Tensor:
        acting.fired = {}
        with torch.inference_mode():
            found = runner._dummy_run(tokens, force_attention=True, skip_eplb=True)[0]
        return stream(found)[0][:tokens].float().clone()

    plain = states()
    unheard = [layer for layer in range(layers) if acting.fired.get(layer, 0) < 1]
    if unheard:
        raise NotSteerableError(
            f"emotion-circuits: layers {unheard} are run where nothing can be changed (compiled, or replayed as a graph): start "
            "with --enforce-eager"
        )
    for layer in range(layers):
        acting.push_all(layer, delta, tokens)
        try:
            pushed = states()
        finally:
            acting.rest()
        if not bool(torch.isfinite(plain).all() and torch.isfinite(pushed).all() and (pushed != plain).any()):
            raise NotSteerableError(
                f"emotion-circuits: a push behind layer {layer} does not reach the end of the model"
            )
