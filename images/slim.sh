# Removes from an environment what no stage reads; README.md has the sizes.
set -e
cd "$1"/lib/python3.*/site-packages
# C++ headers.
rm -rf tensorflow/include pyarrow/include
find h5py joblib numpy onnx pyarrow scipy sklearn -type d -name tests -prune -exec rm -rf {} +
