"""A reproducible replication of ARL-CNN (Zhang, Xie, Xia, Shen; IEEE TMI 2019)."""
