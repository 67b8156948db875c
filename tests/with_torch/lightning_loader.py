"""Lightning trains on torchdata's StatefulDataLoader, and keeps checkpoints amid an epoch.

    python lightning_loader.py FOLDER WORKERS

FOLDER gets data.safetensors, and kept/: amid.ckpt after 3 of the 7 steps of an epoch, and end.ckpt after 12 steps.
"""

import logging
import sys
import warnings
from pathlib import Path

try:
    import lightning
    from torchdata.stateful_dataloader import StatefulDataLoader
except ImportError as error:
    print(error, file=sys.stderr)
    sys.exit(77)
import torch
from safetensors.torch import save_file
from torch import nn
from torch.utils.data import TensorDataset


class Module(lightning.LightningModule):
    def __init__(self):
        super().__init__()
        self.net = nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 3))

    def training_step(self, batch, _):
        return nn.functional.cross_entropy(self.net(batch[0]), batch[1])

    def configure_optimizers(self):
        return torch.optim.AdamW(self.parameters(), lr=1e-2)


class Keep(lightning.Callback):
    def __init__(self, folder):
        self.at = {3: folder / "amid.ckpt", 12: folder / "end.ckpt"}

    def on_train_batch_end(self, trainer, *_):
        if path := self.at.get(trainer.global_step):
            trainer.save_checkpoint(path)


def main():
    folder, workers = Path(sys.argv[1]), int(sys.argv[2])
    warnings.filterwarnings("ignore")
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    torch.manual_seed(0)
    inputs, targets = torch.randn(45, 6), torch.randint(0, 3, (45,))
    save_file({"inputs": inputs, "targets": targets}, folder / "data.safetensors")
    loader = StatefulDataLoader(TensorDataset(inputs, targets), batch_size=7, shuffle=True, num_workers=workers)
    quiet = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False, "enable_checkpointing": False}
    lightning.Trainer(max_epochs=2, accelerator="cpu", callbacks=[Keep(folder)], **quiet).fit(Module(), loader)


if __name__ == "__main__":
    main()
