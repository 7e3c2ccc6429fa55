"""The datasets: a file each that makes a `Dataset`; `stages.download` chooses one."""
