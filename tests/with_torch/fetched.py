"""Loads a file by torch.hub, and two by huggingface_hub, out of the caches in a folder.

    fetched.py HOME ENDPOINT URL offline|online
"""

import os
import sys

home, endpoint, url, how = sys.argv[1:]
os.environ.update(TORCH_HOME=home, HF_HOME=home, HF_ENDPOINT=endpoint, HF_HUB_DISABLE_XET="1", HF_HUB_DISABLE_TELEMETRY="1")
for name in ["HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy", "HF_TOKEN"]:
    os.environ.pop(name, None)

import torch  # noqa: E402
from huggingface_hub import hf_hub_download  # noqa: E402

weights = torch.hub.load_state_dict_from_url(url, check_hash=True, progress=False)
files = ["config.json", "model.safetensors"]
for name in files:
    path = hf_hub_download("org/net", name, local_files_only=how == "offline")
    assert os.path.getsize(path) > 0, path
print("found", ", ".join([*weights, *files]))
