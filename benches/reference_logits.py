"""Logits of a checkpoint by transformers, for `certify reference="FILE"` of a `convert` stage.

    pip install torch transformers safetensors
    python benches/reference_logits.py CHECKPOINT FILE.safetensors

FILE gets `input_ids` [2, 32] and `logits` [2, 32, V] in float32 under a causal mask. The ids are drawn from all tokens except
those listed after FILE; list the mask token there if `convert` gives it a new row.
"""

import sys

import torch
from safetensors.torch import save_file
from transformers import AutoModelForCausalLM

checkpoint, file, *without = sys.argv[1:]
model = AutoModelForCausalLM.from_pretrained(checkpoint, dtype=torch.float32).eval()
known = torch.tensor([i for i in range(model.config.vocab_size) if str(i) not in without])
ids = known[torch.randint(len(known), (2, 32), generator=torch.Generator().manual_seed(0))]
with torch.no_grad():
    save_file({"input_ids": ids, "logits": model(ids).logits.contiguous()}, file)
