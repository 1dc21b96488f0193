"""What parts compute in the tests: functions of a module, so that another process finds them."""

import os
import signal
import time
from pathlib import Path

import pandas as pd
import torch

from emotion_circuits.errors import EmotionCircuitsError
from emotion_circuits.record.engines import Compute
from emotion_circuits.record.parts import Kept, Parts, Tables, Tensors

TASKS = [[i, i + 3] for i in range(12)]
KEPT = {"tensors": Kept("test", Tensors({"of": "test"})), "tables": Kept("test", Tables())}
WORK = {"of": "numbers", "seed": 3}


def tensors(_model, payload, task):
    draws = torch.randn(500, generator=torch.Generator().manual_seed(payload + task[0]))
    return {"draws": draws, "half": draws.to(torch.bfloat16), "task": torch.tensor(task), "empty": torch.empty(0, 3)}


def tables(_model, payload, task):
    draws = torch.randn(50, generator=torch.Generator().manual_seed(payload + task[0])).tolist()
    return pd.DataFrame({"draw": draws, "name": [f"row {i}" for i in range(50)], "task": task[1], "none": None})


BY_FORM = {"tensors": tensors, "tables": tables}


def slowly(_model, payload, task):
    time.sleep(0.05)
    return tensors(None, payload, task)


def slow_tables(_model, payload, task):
    time.sleep(0.05)
    return tables(None, payload, task)


def noted(_model, payload, task):
    """Notes in a file who computed what."""
    with (Path(payload) / "log").open("a") as log:
        log.write(f"{os.getpid()} {task[0]}\n")
    time.sleep(0.02)
    return tensors(None, 0, task)


def killed_once(_model, payload, task):
    """The process is killed the first time that part 4 is begun."""
    mark = Path(payload) / "killed"
    if task[0] == 4 and not mark.exists():
        mark.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return noted(None, payload, task)


def always_killed(_model, payload, task):
    if task[0] == 4:
        (Path(payload) / f"begun-{time.monotonic_ns()}").touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return tensors(None, 0, task)


def gone(_model, _payload, _task):
    os._exit(7)


def failing(_model, _payload, task):
    if task[0] == 5:
        raise EmotionCircuitsError("the corpus has no row 5")
    time.sleep(0.05)
    return tensors(None, 0, task)


def stuck(_model, payload, task):
    (Path(payload) / f"pid-{os.getpid()}").touch()
    time.sleep(600)


def with_ground(_model, ground, task):
    return {"pid": torch.tensor(os.getpid()), "ground": ground["drawn"], "task": torch.tensor(task)}


def ground(_model, payload):
    with (Path(payload) / "grounds").open("a") as log:
        log.write(f"{os.getpid()}\n")
    return {"drawn": torch.randn(3, generator=torch.Generator().manual_seed(1))}


def threads(_model, _payload, _task):
    return {"threads": torch.tensor(torch.get_num_threads())}


def states(model, texts, task):
    """Of a model, which torch sums as its threads have it."""
    with torch.inference_mode():
        batch = model.tokenize([texts[i] for i in task], side="right")
        return {"states": model.hidden(batch).last_hidden_state}


def whole(folder, form="tensors", function=None, seed=7, engine=None):
    """All parts in a folder, joined."""
    with Parts(Path(folder), WORK, TASKS, KEPT[form]) as parts:
        for _ in parts.compute(Compute(function or BY_FORM[form], seed), engine):
            pass
        return list(parts.read())


def killed_in_committing(folder, form, part, where):
    """Killed before the sum of a part is recorded, after it and before the part takes its name, or after that."""
    from emotion_circuits.record import parts as module

    real, calls = module.Ledger.record, []

    class Killing(module.Ledger):
        def record(self, name, ready):
            calls.append(name)
            if len(calls) == part + 1 and where == "before":
                os.kill(os.getpid(), signal.SIGKILL)
            real(self, name, ready)
            if len(calls) == part + 1 and where == "between":
                os.kill(os.getpid(), signal.SIGKILL)
            if len(calls) == part + 2 and where == "after":
                os.kill(os.getpid(), signal.SIGKILL)

    module.Ledger = Killing
    whole(folder, form)


def files(folder):
    return {p.name: p.read_bytes() for p in Path(folder).iterdir() if not p.name.startswith(".lock")}


def flip(path, rng):
    data = bytearray(path.read_bytes())
    data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    path.unlink()  # tensors that were read from it lie in the file itself
    path.write_bytes(data)


def same(a, b):
    if isinstance(a, pd.DataFrame):
        pd.testing.assert_frame_equal(a, b)
    else:
        assert a.keys() == b.keys()
        assert all(torch.equal(a[k], b[k]) and a[k].dtype == b[k].dtype for k in a)
