# The development container: all that .ci/setup installs, for a user who is not root.
# See docs/install.md; docker-compose.yml gives it the right to trace (SYS_PTRACE).
FROM debian:12-slim

ARG UID=1000

RUN apt-get -qq update \
 && apt-get -qq install -y --no-install-recommends ca-certificates less sudo \
 && useradd --create-home --shell /bin/bash --uid "$UID" dev \
 && echo 'dev ALL=(ALL) NOPASSWD: ALL' >/etc/sudoers.d/dev \
 && install -d -o dev /capsule /venv

# Debian's packages, and then what pip installs, change less often than the sources.
COPY .ci/setup /capsule/.ci/setup
RUN sh /capsule/.ci/setup packages && rm -rf /var/lib/apt/lists/*

USER dev
WORKDIR /capsule
ENV CAPSULE_VENV=/venv PATH=/venv/bin:$PATH LANG=C.UTF-8
COPY --chown=dev . .
RUN sh .ci/setup lint

CMD ["bash"]
