import pytest
import torch

from sci_memeff.alphafold.model import AlphaFold
from sci_memeff.alphafold.weights import load_weights, save_openfold

from .files import CONFIG, holds, prefixed, refuses


def test_the_ending_tells_the_kind(tmp_path, model, file):
    load_weights(model, file)
    loaded = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    checkpoint = tmp_path / "epoch.ckpt"
    torch.save({"state_dict": prefixed("model.", loaded)}, checkpoint)
    other = AlphaFold(CONFIG)
    load_weights(other, checkpoint)
    assert holds(other, loaded)
    refuses(load_weights, model, tmp_path / "p.h5", match="(?s)'.h5' is none of .*mend: .*npz")


@pytest.mark.parametrize("ending", [".npz", ".pt"])
@pytest.mark.parametrize("damage", ["empty", "text", "truncated", "flipped", "absent"])
def test_damaged_files_are_refused(tmp_path, model, file, ending, damage):
    path = tmp_path / f"p{ending}"
    if ending == ".pt":
        save_openfold(model, path)
    else:
        file.rename(path)
    content = path.read_bytes()
    half = len(content) // 2
    if damage == "absent":
        path.unlink()
    else:
        path.write_bytes(
            {
                "empty": b"",
                "text": b"no weights at all\n",
                "truncated": content[:half],
                "flipped": content[:half] + bytes(255 - b for b in content[half:]),
            }[damage]
        )
    wrong = "there is no such file" if damage == "absent" else "is damaged, "
    refuses(load_weights, model, path, match=f"(?s){path.name}.*{wrong}.*mend: ")
