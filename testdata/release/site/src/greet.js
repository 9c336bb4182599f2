export const greet = (version) => `Shop, version ${version}`;
