export const GET = () => new Response("the app's own");
