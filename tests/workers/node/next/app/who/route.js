// What the other programs of these tests answer; Next.js shows no addresses.
export function GET({ headers }) {
  const { pid, env: { NODE_APP_INSTANCE } } = process;
  const told = {
    pid,
    index: Number(NODE_APP_INSTANCE),
    host: headers.get('host'),
    forwarded: headers.get('x-forwarded-for'),
    protocol: headers.get('x-forwarded-proto'),
  };
  return Response.json(told, { headers: { 'x-worker': `${NODE_APP_INSTANCE} ${pid}` } });
}
