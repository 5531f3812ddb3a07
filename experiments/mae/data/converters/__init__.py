"""Published data sets in their own formats, as folders of images that a manifest can list."""
