"""Images in, patches out: files, the ISIC layout, checks, synthetic images, the decoded array, lesions on a device."""
