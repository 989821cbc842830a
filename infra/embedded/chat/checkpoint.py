"""A training run on disk: one safetensors file with weights, Adam's state and a few numbers."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import save_file

from infra.embedded.chat.model import ChatModel, Shape

FILE = "checkpoint.safetensors"


@dataclass(slots=True)
class Clock:
    """How far a run is."""

    step: int = 0
    seconds: float = 0.0
    num_tokens: int = 0


def save(run: Path, model: ChatModel, adam: torch.optim.Optimizer, clock: Clock) -> None:
    """Write the checkpoint of `run`; the old one stays valid until the new one is complete."""
    tensors = {f"model.{name}": value for name, value in model.state_dict().items()}
    for index, state in adam.state_dict()["state"].items():
        tensors |= {f"adam.{index}.{name}": value for name, value in state.items()}
    facts = {"clock": json.dumps(asdict(clock)), "shape": json.dumps(model.shape.as_dict())}
    part = run / f"{FILE}.part"
    save_file(tensors, part, metadata=facts)
    part.replace(run / FILE)


def load(run: Path) -> tuple[ChatModel, dict[int, dict[str, torch.Tensor]], Clock]:
    """The model, Adam's state by parameter, and the clock. Raises FileNotFoundError."""
    with safe_open(run / FILE, framework="pt") as file:
        facts = file.metadata()
        tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
    model = ChatModel(Shape(**json.loads(facts["shape"])))
    adam: dict[int, dict[str, torch.Tensor]] = {}
    weights: dict[str, torch.Tensor] = {}
    for key, tensor in tensors.items():
        kind, name = key.split(".", 1)
        if kind == "model":
            weights[name] = tensor
        else:
            index, state = name.split(".")
            adam.setdefault(int(index), {})[state] = tensor
    model.load_state_dict(weights)
    return model, adam, Clock(**json.loads(facts["clock"]))
