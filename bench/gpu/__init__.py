"""What only a GPU can show, in one program with a time budget: `python -m bench.gpu`; see docs/gpu.md."""
