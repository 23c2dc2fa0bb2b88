"""Image classifiers with attention: the paper's other experiments, CIFAR and ImageNet."""
