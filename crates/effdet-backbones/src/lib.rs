//! timm-style EfficientNet, MobileNetV3, ResNet and CSP feature networks on Burn
