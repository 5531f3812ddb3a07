"""Multi-modal images: manifests of files, decoding, joint augmentation, and rendered scenes."""
