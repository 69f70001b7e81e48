"""The Python packages and the command `uma`, for pip. ROS 2 workspaces build the same tree with CMakeLists.txt."""

from setuptools import find_packages, setup

setup(
    name="uma",
    version="0.1.0",
    description="UMA, the Unified Motion-Action model, on the DROID station as ROS 2 nodes",
    license="Apache-2.0",
    packages=find_packages(
        include=["uma", "uma.*", "uma_sim", "uma_sim.*", "uma_train", "uma_train.*", "uma_ros", "uma_ros.*"]
    ),
    package_data={"uma": ["py.typed"], "uma_sim": ["**/*"]},
    python_requires=">=3.11,<3.13",
    install_requires=["numpy>=2", "scipy>=1.14", "pyyaml>=6", "torch>=2.6", "safetensors>=0.5", "tyro>=1,<2"],
    extras_require={
        "sim": ["mujoco>=4,<5", "franky-sim>=1.0.4,<2", "opencv-python-headless>=4.13,<5"],
        "bags": ["rosbags>=0.11,<0.12", "mcap>=1.3,<2", "mcap-ros2-support>=0.6,<1"],
        "demo": ["rich>=13", "matplotlib>=3.8", "pillow>=11"],
        "siglip2": ["transformers>=5.23,<6", "tokenizers>=0.22"],
        "perception": ["opencv-python-headless>=4.13,<5", "pillow>=11"],
        "hands": ["ai-edge-litert>=2.3,<3"],
        "data": ["h5py>=3.12,<4", "pyarrow>=18,<27", "av>=15,<19", "opencv-python-headless>=4.13,<5"],
        "ray": ["ray>=2.50,<3"],
        "robot": ["pylibfranka>=0.21,<0.22", "pymodbus>=3.10,<4", "pyserial>=3.5"],
        "teach": ["viser>=1.1.1,<1.2", "pillow>=11", "qrcode>=8"],
        "train": ["rich>=13", "tensorboard>=2.20"],
        "test": [
            "pytest>=8",
            "pytest-timeout>=2",
            "pytest-xdist>=3",
            "hypothesis>=6",
            "ruff>=0.9",
            "mypy>=1.11",
            "playwright>=1.60",
        ],
    },
    entry_points={"console_scripts": ["uma = uma.cli:main"]},
)
