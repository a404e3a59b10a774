// This folder stands alone, whatever lock files lie above it.
export default {
  outputFileTracingRoot: import.meta.dirname,
  turbopack: { root: import.meta.dirname },
};
