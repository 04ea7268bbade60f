# Installs into /opt/kfp-vision with the pip of the base; arguments are those of `pip install`.
# The requirements are complete: what they leave out must not come back as a dependency.
set -e
# Secrets of the build, each of them optional: see README.md.
for setting in PIP_CONFIG_FILE=/run/secrets/pip.conf PIP_CERT=/run/secrets/ca-bundle; do
    if [ -f "${setting#*=}" ]; then export "${setting?}"; fi
done
exec pip --python /opt/kfp-vision/bin/python --disable-pip-version-check --no-input \
    install --no-deps --no-build-isolation --use-pep517 "$@"
