"""Frame-aligned point error, the loss on structure (Supplement 1.9.2, Algorithm 28).

Axes: f frames, p points, t iterations of the structure module, i residues.
"""

from __future__ import annotations

from collections.abc import Mapping

from jaxtyping import Float
from torch import Tensor, nn

from sci_memeff._types import Mask, Walk, whole
from sci_memeff.alphafold.geometry import Rigid
from sci_memeff.alphafold.losses.renaming import Renamed

__all__ = ["FrameAlignedPointError", "backbone_fape", "in_frames", "sidechain_fape"]

EPS = 1e-4  # Å² under the root, whose slope it bounds; also keeps the means of nothing at 0


class FrameAlignedPointError(nn.Module):
    """The mean distance of every point from the true one, seen from every frame, over a unit.

    Frames are independent once the points are known. Unchanged by any rigid motion of the
    prediction or of the truth, and not by a reflection.
    """

    walk: Walk

    def __init__(self, clamp: float = 10.0, unit: float = 10.0) -> None:
        super().__init__()
        self.clamp = clamp
        self.unit = unit
        self.walk = whole

    def forward(
        self,
        frames: Float[Tensor, "*t f 4 4"],
        true_frames: Float[Tensor, "*b f 4 4"],
        frame_mask: Mask[Tensor, "*b f"],
        points: Float[Tensor, "*t p 3"],
        true_points: Float[Tensor, "*b p 3"],
        point_mask: Mask[Tensor, "*b p"],
    ) -> tuple[Float[Tensor, "*t"], Float[Tensor, "*t"]]:
        """The error with distances clamped (Å), and with none clamped.

        The prediction may have more leading dimensions (*t) than the truth (*b).
        """
        sums = self.walk(
            self.rows,
            rows=(frames, true_frames, frame_mask),
            shared=(points, true_points, point_mask),
            in_dims=(-3, -3, -1),
            out_dims=(-1, -1),
        )
        clamped, free = (
            # One count after the other, lest their product overflow in half precision.
            (each / (EPS + frame_mask.sum(-1))[..., None]).sum(-1) / (EPS + point_mask.sum(-1))
            for each in sums
        )
        return clamped, free

    def rows(
        self,
        frames: Float[Tensor, "*t f 4 4"],
        true_frames: Float[Tensor, "*b f 4 4"],
        frame_mask: Mask[Tensor, "*b f"],
        points: Float[Tensor, "*t p 3"],
        true_points: Float[Tensor, "*b p 3"],
        point_mask: Mask[Tensor, "*b p"],
    ) -> tuple[Float[Tensor, "*t f"], Float[Tensor, "*t f"]]:
        """The summed errors that some frames see, clamped and not."""
        offset = in_frames(frames, points) - in_frames(true_frames, true_points)
        distance = (offset.square().sum(-1) + EPS).sqrt()
        scale = frame_mask / self.unit
        clamped = (distance.clamp(max=self.clamp) * point_mask[..., None, :]).sum(-1)
        free = (distance * point_mask[..., None, :]).sum(-1)
        return clamped * scale, free * scale


def in_frames(
    frames: Float[Tensor, "*b f 4 4"], points: Float[Tensor, "*b p 3"]
) -> Float[Tensor, "*b f p 3"]:
    """Every point as seen from every frame."""
    return Rigid.from_matrix4(frames).unsqueeze(-1).invert_apply(points[..., None, :, :])


def backbone_fape(
    error: FrameAlignedPointError, frames: Float[Tensor, "t *b i 4 4"], batch: Mapping[str, Tensor]
) -> Float[Tensor, "*b"]:
    """FAPE of the backbone frames and their Cα, mean over all iterations (Algorithm 20, line 17).

    Clamped in the samples whose `use_clamped_fape` is 1 (or that do not say), free where it is 0.
    """
    truth, mask = batch["backbone_rigid_tensor"], batch["backbone_rigid_mask"]
    clamped, free = error(frames, truth, mask, frames[..., :3, 3], truth[..., :3, 3], mask)
    share = batch.get("use_clamped_fape")
    if share is not None:
        clamped = clamped * share + free * (1 - share)
    return clamped.mean(0)


def sidechain_fape(
    error: FrameAlignedPointError,
    frames: Float[Tensor, "*b i 8 4 4"],
    positions: Float[Tensor, "*b i 14 3"],
    exists: Mask[Tensor, "*b i 8"],
    truth: Renamed,
) -> Float[Tensor, "*b"]:
    """FAPE of all atoms seen from all rigid groups, always clamped (Algorithm 20, line 28).

    `exists` says which groups the true structure has.
    """
    clamped, _ = error(
        frames.flatten(-4, -3),
        truth.frames.flatten(-4, -3),
        exists.flatten(-2),
        positions.flatten(-3, -2),
        truth.positions.flatten(-3, -2),
        truth.exists.flatten(-2),
    )
    return clamped
