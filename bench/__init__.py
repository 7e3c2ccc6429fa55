"""Speed and accuracy as ratios against a peer, measured side by side in one run; see `make bench`."""
