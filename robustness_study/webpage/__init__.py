"""The report as one HTML file that opens without a network: charts, an image explorer, UMAP planes and every table.

The file holds its data: small images as sheets, arrays as compressed text, and the chart library. `document.py`
collects what is shown and writes the file; `assets/` has its template, style and scripts.
"""
