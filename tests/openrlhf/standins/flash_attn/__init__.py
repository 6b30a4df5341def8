"""Stand-in for flash-attn on a machine without a GPU, put on PYTHONPATH by the integration tests.

OpenRLHF's `train_rm` imports flash-attn whatever attention it is told to use, and names `torch.cuda` and a "cuda" mesh
without asking. What is stood in for is imported here, in `bert_padding` and in `utils.distributed`; everything else
that runs is OpenRLHF's, DeepSpeed's and transformers' own. Importing this package also leads the few `torch.cuda`
calls of `train_rm` to the CPU: OpenRLHF imports flash-attn before it makes its first of them.
"""

from typing import Any

import torch
import torch.distributed.device_mesh as device_mesh

if not torch.cuda.is_available():
    _real_mesh = device_mesh.init_device_mesh

    def _mesh_on_cpu(device_type: str, *args: Any, **kwargs: Any) -> Any:
        return _real_mesh("cpu" if device_type == "cuda" else device_type, *args, **kwargs)

    device_mesh.init_device_mesh = _mesh_on_cpu
    torch.cuda.set_device = lambda device: None
    torch.cuda.current_device = lambda: "cpu"
    torch.cuda.synchronize = lambda device=None: None
    torch.cuda.empty_cache = lambda: None
