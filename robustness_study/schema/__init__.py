"""One schema file for each section of params.yaml. So a new key in one section re-runs only the stages that read it."""
