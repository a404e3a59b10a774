import { headers } from 'next/headers';

// Made for each request.
export default async function Page() {
  return <main>Hello at {(await headers()).get('host')} from {process.pid}</main>;
}
