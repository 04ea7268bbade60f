"""Kubeflow Pipelines components that train computer-vision models by themselves."""
