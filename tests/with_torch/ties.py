"""Go on in PyTorch from the checkpoints of a tied nanoGPT that Rust wrote 3 steps after tests/fixtures/ties/ckpt.pt.

    python ties.py FOLDER

Every FOLDER/<name>.pt is loaded strictly, has both names of the tied weight on one storage, and after 3 more steps the model
is as far as one that never left PyTorch. Prints the largest relative difference of a parameter; exits with 1 above 1e-5.
"""

import sys
from pathlib import Path

FIXTURES = Path(__file__).parents[1] / "fixtures"
sys.path.insert(0, str(FIXTURES))

import torch
from sections.ties import GPT, begin, optimizer_of, step

torch.set_num_threads(1)
expected, optimizer, tokens = begin()
for batch in [*tokens, *tokens]:
    step(expected, optimizer, batch)

wrong = []
for path in sorted(Path(sys.argv[1]).glob("*.pt")):
    saved = torch.load(path)
    names = ["transformer.wte.weight", "lm_head.weight"]
    assert saved["model"][names[0]].data_ptr() == saved["model"][names[1]].data_ptr(), f"{path.name}: the tie is broken"
    assert list(saved["model"]) == list(expected.state_dict()), f"{path.name}: other names"
    model = GPT()
    model.load_state_dict(saved["model"], strict=True)
    assert model.lm_head.weight is model.transformer.wte.weight
    optimizer = optimizer_of(model)
    optimizer.load_state_dict(saved["optimizer"])
    for batch in tokens:
        step(model, optimizer, batch)
    pairs = zip(model.parameters(), expected.parameters(), strict=True)
    apart = max(((one - other).norm() / other.norm()).item() for one, other in pairs)
    print(f"{path.stem}: {apart:.1e} apart")
    if not apart <= 1e-5:
        wrong.append(f"{path.name}: {apart:.1e} apart")
sys.exit("\n".join(wrong) or 0)
