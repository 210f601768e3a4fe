"""The optimizer of a stage: which parameters it treats how, what it keeps of each, and where it cannot work."""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, assert_never

import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor
from torch.optim import Optimizer

from sftkey_data.errors import SFTKeyError
from sftkey_data.extras import require
from sftkey_train.recipe import OptimizerName, Stage

if TYPE_CHECKING:
    from transformers import PreTrainedModel

FLOAT_BYTES = 4
# Of bitsandbytes: smaller tensors keep moments in fp32, larger ones a byte a number and a float for each block of them.
LEAST_IN_8BIT, BLOCK_OF_8BIT = 4096, 256


def build_optimizer(model: "PreTrainedModel", stage: Stage) -> Optimizer:
    """A fresh optimizer over what is trained; matrices decay, norms and biases (fewer than two dimensions) do not.

    - `adamw`: torch's.
    - `adamw_8bit`: bitsandbytes' `AdamW8bit`, the same with moments of 8 bits, in blocks.
    - `adafactor`: transformers', with the stage's learning rate as it is: no first moment, no scale of the parameters,
      no schedule of its own; what a step changes is clipped to a root mean square of `lr`.
    - `muon`: torch's for `hidden_matrices`, AdamW for everything else. An update of Muon has the root mean square of
      AdamW's (0.2 times `lr`, Moonlight, arXiv 2502.16982), so one learning rate and one weight decay serve both; its
      momentum is 0.95, with Nesterov, whatever the betas.

    Raises:
        SFTKeyError: Muon has no matrix to train.
    """
    trained = [p for p in model.parameters() if p.requires_grad]
    match stage.optimizer:
        case "adamw":
            return torch.optim.AdamW(_groups(trained, stage), lr=stage.lr, betas=stage.betas, fused=True)
        case "adamw_8bit":
            from bitsandbytes.optim import AdamW8bit

            eight_bit: Optimizer = AdamW8bit(
                _groups(trained, stage), lr=stage.lr, betas=stage.betas, min_8bit_size=LEAST_IN_8BIT
            )
            return eight_bit
        case "adafactor":
            from transformers import Adafactor

            return Adafactor(_groups(trained, stage), lr=stage.lr, scale_parameter=False, relative_step=False)
        case "muon":
            matrices = hidden_matrices(model)
            if not matrices:
                raise SFTKeyError(f"stage {stage.name!r}: optimizer = 'muon' has no matrix of a hidden layer to train")
            return MuonAndAdamW(matrices, _groups(_others(trained, matrices), stage), stage)
        case _:
            assert_never(stage.optimizer)


def _groups(parameters: Sequence[Tensor], stage: Stage) -> list[dict[str, Any]]:
    return [
        {"params": [p for p in parameters if p.dim() >= 2], "weight_decay": stage.weight_decay},
        {"params": [p for p in parameters if p.dim() < 2], "weight_decay": 0.0},
    ]


def _others(parameters: Sequence[Tensor], matrices: Sequence[Tensor]) -> list[Tensor]:
    chosen = {id(p) for p in matrices}
    return [p for p in parameters if id(p) not in chosen]


def hidden_matrices(model: "PreTrainedModel") -> list[nn.Parameter]:
    """The trained weights that Muon is for: matrices of hidden layers, those of adapters among them.

    Not of the input embeddings, of the output layer and of tables of positions, as Muon's author asks; and no tensor of
    three dimensions, such as all experts of a layer in one, which torch's Muon does not take.
    """
    ends = (model.get_input_embeddings(), model.get_output_embeddings())
    tables = [module for module in model.modules() if isinstance(module, nn.Embedding) or module in ends]
    outside = {id(p) for table in tables for p in table.parameters()}
    named = [(n, p) for n, p in model.named_parameters() if p.requires_grad and p.dim() == 2 and id(p) not in outside]
    return [parameter for name, parameter in named if name.endswith(".weight")]


class MuonAndAdamW(Optimizer):
    """Muon for matrices and AdamW for the rest as one optimizer: one state to save, one list of groups."""

    def __init__(self, matrices: Sequence[Tensor], others: Sequence[dict[str, Any]], stage: Stage) -> None:
        self._muon = torch.optim.Muon(
            [{"params": list(matrices)}],
            lr=stage.lr,
            weight_decay=stage.weight_decay,
            adjust_lr_fn="match_rms_adamw",
        )
        self._adamw = torch.optim.AdamW(list(others), lr=stage.lr, betas=stage.betas, fused=True)
        super().__init__([*self._muon.param_groups, *self._adamw.param_groups], {})
        self._share()

    def _share(self) -> None:
        """Have both work on the groups and the state that are saved and loaded here."""
        self._muon.param_groups, self._adamw.param_groups = self.param_groups[:1], self.param_groups[1:]
        self._muon.state = self._adamw.state = self.state

    def step(self, closure: Any = None) -> Any:
        """One step of each."""
        loss = self._muon.step(closure)
        self._adamw.step()
        return loss

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Put back what `state_dict` gave."""
        super().load_state_dict(state_dict)
        self._share()


def check_optimizer(stage: Stage, device: torch.device) -> None:
    """Refuse an optimizer that is not installed, or that the device cannot run; AdamW in 8 bits takes a step to see.

    Raises:
        SFTKeyError: One line that says why.
    """
    wanted = f"stage {stage.name!r}: optimizer = {stage.optimizer!r}"
    if stage.optimizer == "muon" and not hasattr(torch.optim, "Muon"):
        raise SFTKeyError(f"{wanted} needs torch 2.9 or later, found {torch.__version__}")
    if stage.optimizer == "adamw_8bit":
        require(wanted, "bitsandbytes", "bitsandbytes")
        try:
            _take_a_step_in_8bit(device)
        except (ImportError, OSError, RuntimeError, AttributeError, ValueError) as error:
            said = (str(error).splitlines() or [""])[0]
            raise SFTKeyError(f"{wanted} does not run on {device.type}: {type(error).__name__}: {said}") from None


def _take_a_step_in_8bit(device: torch.device) -> None:
    from bitsandbytes.optim import AdamW8bit

    weight = nn.Parameter(torch.zeros(LEAST_IN_8BIT, device=device))
    weight.grad = torch.ones_like(weight)
    AdamW8bit([weight]).step()


def optimizer_bytes(model: "PreTrainedModel", name: OptimizerName) -> int:
    """What an optimizer keeps of the trained parameters from its first step on; shapes are enough."""
    trained = [p for p in model.parameters() if p.requires_grad]
    moments = {
        "adamw": _two_moments,
        "adamw_8bit": _two_moments_in_8bit,
        "adafactor": _factored_moment,
        "muon": _two_moments,
    }[name]
    matrices = hidden_matrices(model) if name == "muon" else []
    momentum = sum(FLOAT_BYTES * p.numel() for p in matrices)
    return momentum + sum(moments(p) for p in _others(trained, matrices))


def _two_moments(parameter: Tensor) -> int:
    return 2 * FLOAT_BYTES * parameter.numel()


def _two_moments_in_8bit(parameter: Tensor) -> int:
    num = parameter.numel()
    return _two_moments(parameter) if num < LEAST_IN_8BIT else 2 * (num + FLOAT_BYTES * math.ceil(num / BLOCK_OF_8BIT))


def _factored_moment(parameter: Tensor) -> int:
    """Of the square of the gradient, a mean for each row and one for each column of a matrix (or of several)."""
    if parameter.dim() < 2:
        return FLOAT_BYTES * parameter.numel()
    *several, rows, columns = parameter.shape
    return FLOAT_BYTES * math.prod(several) * (rows + columns)


def set_learning_rate(optimizer: Optimizer, rate: float) -> None:
    """Use `rate` for every parameter from the next step on."""
    for group in optimizer.param_groups:
        group["lr"] = rate


def step_if(all_finite: Tensor, optimizer: Optimizer) -> None:
    """Take a step where `all_finite`, a scalar on the device, is true; else weights stay, and so does what is kept.

    Torch's AdamW looks at it on the device. For the other optimizers, and for shares of weights, it is read, so the
    host waits for the device.
    """
    shared = any(isinstance(p, DTensor) for group in optimizer.param_groups for p in group["params"])
    if isinstance(optimizer, torch.optim.AdamW) and not shared:
        optimizer.found_inf = (~all_finite).float()  # type: ignore[attr-defined]  # as torch.amp's scaler sets it
        optimizer.step()
    elif all_finite:
        optimizer.step()


def clip_gradients(model: "PreTrainedModel", max_norm: float) -> Tensor:
    """Scale all gradients down to a common norm of at most `max_norm` (0: leave them); the norm they had, a scalar.

    It stays on the device, so nothing waits for it.
    """
    norm = torch.nn.utils.clip_grad_norm_(model.parameters(), max_norm or math.inf)  # infinity measures, clips nothing
    return norm.full_tensor() if isinstance(norm, DTensor) else norm
