/** Whoever reads the output has had enough, as `| head` has: the command ends, and that is no failure. */
process.stdout.on('error', (error) => {
  if (error.code !== 'EPIPE') throw error;
  process.exit(0);
});
