"""Groups of negatives: a micro-batch and a rank hold whole ones, so that the loss is exact."""

from dataclasses import replace

from bert_lightning.config.finetune import FinetuneConfig
from bert_lightning.data.dealing import StepPartition
from bert_lightning.errors import UserError


def group_size(config: FinetuneConfig) -> int:
    """Returns how many consecutive examples of a step are each other's negatives."""
    return config.task.group_size or config.batch.global_batch_size


def with_whole_groups(partition: StepPartition, config: FinetuneConfig) -> StepPartition:
    """Returns the same partition if its micro-batches hold whole groups, else one that does.

    Raises:
        UserError: groups would be divided between devices, or between given micro-batches, or have
            one example.
    """
    total, group, world = config.batch.global_batch_size, group_size(config), partition.world_size
    if group == 1:
        raise UserError(
            f"batch.global_batch_size={total} leaves each text alone, and the loss of sentence "
            "vectors tells it from others: use 2 or more"
        )
    of_device, of_batch = total // world, partition.micro_batch_size(total)
    if of_device % group:
        holder = f"each of {world} devices" if world > 1 else "a step"
        raise _divided(group, f"{holder} has {of_device}", of_device)
    partition = replace(partition, together=group)
    if of_batch % group == 0:
        return partition
    if config.batch.micro_batch_size or config.trainer.accumulate_grad_batches:
        raise _divided(group, f"a micro-batch has {of_batch}", of_batch)
    most = of_device // group
    fewer = range(partition.accumulation, most)
    accumulation = next((count for count in fewer if most % count == 0), most)
    return replace(partition, accumulation=accumulation)


def _divided(group: int, what: str, size: int) -> UserError:
    fitting = f"task.group_size={size}" if size > 1 else "larger micro-batches"
    return UserError(
        f"task.group_size={group} (null is the whole global batch) keeps {group} examples together "
        f"as each other's negatives, and {what}, which are no whole groups: use {fitting}, or "
        f"sizes that are multiples of {group}"
    )
